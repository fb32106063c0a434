-- Between the first snapshot and the second.
update users set name = 'changed' where id = 450;
insert into users (name) values ('late');
